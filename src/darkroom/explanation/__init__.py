"""Why a network predicts a class: where in the image its logit comes from, and which training images look alike to it."""
