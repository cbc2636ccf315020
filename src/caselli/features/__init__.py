"""Networks whose features judge and teach, from a package or a file, with random weights, or trained here."""

from caselli.features.base import FeatureNetwork, coloured, features_of
from caselli.features.classifier import Classifier, accuracy, classify, confusion_matrix, most_confused
from caselli.features.classifier_training import own_features, train_classifier, train_rotation_classifier
from caselli.features.efficientnet import (
    EfficientNetLite,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from caselli.features.frozen import Frozen
from caselli.features.inception import Inception
from caselli.features.lpips import LPIPS
from caselli.features.map_distance import MapDistance
from caselli.features.moments import MomentDistance, pyramid, seen_by
from caselli.features.probe import linear_probe
from caselli.features.projected import ProjectedDiscriminator
from caselli.features.vgg import VGG16, VGG_WIDTHS, published_vgg, vgg_stages

FEATURES: dict[str, type[FeatureNetwork]] = {
    "inception": Inception,
    "vgg": VGG16,
    "classifier": Classifier,
    "efficientnet-lite0": EfficientNetLite0,
    "efficientnet-lite1": EfficientNetLite1,
    "efficientnet-lite2": EfficientNetLite2,
}
"""Networks of features by name."""

TEACHERS: dict[str, type[EfficientNetLite]] = {
    name: kind for name, kind in FEATURES.items() if issubclass(kind, EfficientNetLite)
}
"""Networks whose maps can teach a tokenizer, by name."""

__all__ = [
    "FEATURES",
    "LPIPS",
    "TEACHERS",
    "VGG16",
    "VGG_WIDTHS",
    "Classifier",
    "EfficientNetLite",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "FeatureNetwork",
    "Frozen",
    "Inception",
    "MapDistance",
    "MomentDistance",
    "ProjectedDiscriminator",
    "accuracy",
    "classify",
    "coloured",
    "confusion_matrix",
    "features_of",
    "linear_probe",
    "most_confused",
    "own_features",
    "published_vgg",
    "pyramid",
    "seen_by",
    "train_classifier",
    "train_rotation_classifier",
    "vgg_stages",
]
