"""What every stage does around its work: lock, inputs, hashes, orphans."""
