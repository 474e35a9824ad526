"""The control plane: reviews, rules, keys, deploys, price overrides. It knows nothing of spans' files."""
