"""`./darkroom labels check`: features of labelled images, probabilities out of fold, and the images whose label is doubtful."""

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.features.backbone import open_backbone
from darkroom.features.extract import pack_features
from darkroom.features.out_of_fold import out_of_fold
from darkroom.labels.suspects import Suspects, checked_rows, find_suspects, find_units

FOLDS = 5


def check_labels(pack: Pack, params: Params, backbone: str | None = None) -> Suspects:
    """Return the images of all splits whose label is doubtful; each is judged by a classifier that never saw it.

    Images of val and test are checked like the others: that a label of theirs is wrong says nothing about a model that is trained
    on the training images.

    Parameters
    ----------
    pack
        The images.
    params
        Sections `base`, `split`, `train` and `hardware`: folds, groups, near duplicates, threads, device.
    backbone
        A network of timm, or the folder of a published model; None: the best one that is installed.

    Raises
    ------
    InputError
        If the images have several labels, fewer than two classes have two images, or there is no such network.
    """
    units = find_units(pack, params.split)
    rows, unchecked = checked_rows(pack.labels, units.numbers, len(pack.classes))
    if len(unchecked) > len(pack.classes) - 2:
        raise InputError("data/raw: fewer than two classes have two distinct images, without which no label can be checked")
    opened = open_backbone(backbone, hardware=params.hardware, channels=pack.channels, threads=params.train.threads)
    features = pack_features(opened, pack, rows)
    probabilities = out_of_fold(
        features,
        pack.labels[rows],
        num_classes=len(pack.classes),
        groups=units.numbers[rows],
        folds=params.split.folds or FOLDS,
        seed=params.split.seed_or(params.base.seed),
    )
    return find_suspects(pack, rows, probabilities, units, unchecked)
