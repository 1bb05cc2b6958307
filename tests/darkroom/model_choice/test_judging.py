"""Which predictions are right."""

import torch

from darkroom.model_choice.judging import is_right


def test_which_predictions_are_right() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert is_right(logits, torch.tensor([1, 1])).tolist() == [True, False]
    assert is_right(torch.tensor([[0.5], [-0.5]]), torch.tensor([1, 1]), positive=1).tolist() == [True, False]
    assert is_right(torch.tensor([[0.5], [-0.5]]), torch.tensor([1, 1]), positive=0).tolist() == [False, True]
    several = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    assert is_right(several, torch.tensor([[1, 0], [1, 0]])).tolist() == [True, False]
