"""Score queued jobs with the classical classifiers of Figure 5b: random forest and linear SVM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from edge_marl.algorithms.tandem.imitation.demonstrations import Demonstrations


class ClassifierScorer:
    """Score queue positions with a classifier that is trained on the padded and flattened queue."""

    def __init__(self, model: str, data: Demonstrations, seed: int) -> None:
        self.max_queue = data.queued.shape[1]
        if model == "forest":
            self.classifier = RandomForestClassifier(n_estimators=100, random_state=seed)
        else:
            self.classifier = make_pipeline(
                StandardScaler(), LinearSVC(random_state=seed, max_iter=5000)
            )
        self.classifier.fit(self._flatten(data.features, data.queued), data.choice)

    def _flatten(
        self, features: NDArray[np.float32], queued: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return ``[B, max_queue * 6]``: features and presence of the first jobs of the queue."""
        rows = np.concatenate([features, queued[:, :, None]], axis=2)[:, : self.max_queue]
        missing = self.max_queue - rows.shape[1]
        return np.pad(rows, ((0, 0), (0, missing), (0, 0))).reshape(len(rows), -1)

    def __call__(
        self, features: NDArray[np.float32], queued: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Map ``features [B, Q, 5]`` and ``queued [B, Q]`` to scores ``[B, Q]``."""
        inputs = self._flatten(features, queued)
        if hasattr(self.classifier, "predict_proba"):
            known = self.classifier.predict_proba(inputs)
        else:
            known = self.classifier.decision_function(inputs)
        if known.ndim == 1:  # two classes: one margin, positive for the second
            known = np.stack([-known, known], axis=1)
        scores = np.full((len(inputs), max(self.max_queue, queued.shape[1])), -1e9, np.float32)
        scores[:, self.classifier.classes_] = known
        return scores[:, : queued.shape[1]]
