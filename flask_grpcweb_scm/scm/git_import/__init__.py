"""The history of a local git repository into the database."""
