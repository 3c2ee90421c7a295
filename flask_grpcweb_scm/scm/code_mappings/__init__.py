"""Code mappings: from the paths of stack traces to the files of repositories.

Pure, without database and Flask: `frames` reads a frame into a StackPath; `trees` finds the files that it could mean;
`decide` chooses one, and the roots that lead to it. With the database: `derive` searches the repositories of an
organization, and stores the mappings.
"""
