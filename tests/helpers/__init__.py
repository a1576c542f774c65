"""What several tests use: tiny checkpoints, image files, a stand-in of the hub, schemas."""
