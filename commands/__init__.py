"""The command line: each file is one subcommand or what several share. All of it goes through the node classes."""
