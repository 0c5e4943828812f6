"""`ttbringup sweep`: the ladder climbed in several precisions, accuracy against speed."""
