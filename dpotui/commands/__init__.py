"""The command line, one small module a command or group of commands."""
