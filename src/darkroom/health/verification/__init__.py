"""What was recorded, compared with the workspace: dvc.lock and the records of the stages, for `./darkroom verify`."""
