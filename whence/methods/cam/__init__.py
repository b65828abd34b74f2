"""Class activation maps: where on a layer's map the evidence for a class stands."""
