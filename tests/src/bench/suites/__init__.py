"""One module for each suite, with `run(options, report)`."""
