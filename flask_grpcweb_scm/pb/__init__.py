"""Messages generated from ``protos/``; ``make protos`` writes them, nobody edits them."""
