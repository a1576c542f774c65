"""What the files of a checkpoint say: its family, its configuration and its image processor."""
