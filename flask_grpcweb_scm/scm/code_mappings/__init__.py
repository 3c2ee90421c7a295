"""Code mappings: from the paths of stack traces to the files of repositories.

Pure, without database and Flask: `tracebacks` reads frames out of a text, `frames` the paths of a frame, which
`libraries` knows as those of a library or an installed package; `trees` finds the files that a path could mean,
`decide` chooses one, `roots` the roots that lead to it. With the database: `repositories` has the trees, `coverage` the
mappings that are stored, `derive` makes those that are missing, `check` looks at all of them.
"""
