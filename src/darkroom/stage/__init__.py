"""What every stage does around its work: it locks the workspace, checks its inputs, and ends with its DVC."""
