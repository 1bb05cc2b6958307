"""A trained model as one file for other programs: ONNX, OpenVINO, torch.export, each compared with the model itself."""
