"""Pages about explanations: the demonstration on handwritten digits, and what the command line shows."""
