"""The tables, and transactions on them."""
