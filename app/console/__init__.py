"""HTML pages, rendered here and free of scripts."""
