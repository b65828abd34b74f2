"""One folder per framework; each imports only its own."""
