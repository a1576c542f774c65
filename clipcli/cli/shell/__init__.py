"""Between the program and the terminal: errors, help, completion, progress, interrupts."""
