"""What single commands print: one module per document, on top of the shared rows and destinations."""
