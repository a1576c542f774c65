"""The report page: every image with its tags, in one HTML file."""
