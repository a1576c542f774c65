"""What Python users and every command run on: `Model`, its options, checks of this machine, and a benchmark."""
