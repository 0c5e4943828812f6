"""From logits to text: how the next token is chosen, text as it grows, and the command `ttbringup generate`."""
