"""The honest evaluation: what every representation and model is worth on the target, against every baseline."""
