"""What every stage and command starts from: parameters, files, paths, errors, targets; standard library and pydantic only."""
