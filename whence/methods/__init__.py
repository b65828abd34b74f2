"""The methods, one file per family: each is its paper's formula."""
