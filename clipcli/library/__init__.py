"""What the user keeps: keywords in sidecars, and more to come. Yields events; says nothing by itself."""
