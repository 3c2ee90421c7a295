"""Sources of the contents of repositories: local git mirrors, and the APIs of providers."""
