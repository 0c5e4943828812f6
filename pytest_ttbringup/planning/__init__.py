"""What a model needs of a machine, before any weight is there: `ttbringup plan`."""
