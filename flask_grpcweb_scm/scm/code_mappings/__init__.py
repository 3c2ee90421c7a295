"""Code mappings: from the paths of stack traces to the files of repositories.

Pure, without database and Flask: `frames` reads a frame into a StackPath; `tree_index` finds the files that it could
mean; `decide` chooses one, and the roots that lead to it; `coverage` applies roots. With the database: `search` reads
the repositories of an organization, `derive` stores the mappings.
"""
