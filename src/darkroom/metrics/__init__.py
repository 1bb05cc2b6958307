"""Every metric that training and evaluate measure."""
