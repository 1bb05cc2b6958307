"""Everything that needs torch. Only `classifier`, `progress` and `fit` need Lightning: evaluate and predict do without."""
