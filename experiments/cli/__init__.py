"""The command line of caddie: one function per command, with no logic of its own."""
