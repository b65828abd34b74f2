"""Models without gradients: a boosted table, a reader of sentences, a face detector, each explained as it is."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

import whence
from whence.baselines import DataSet
from whence.core.registry import method_names
from whence.features import Columns, Superpixels, Texts
from whence.plots import HeatMap
from whence.report.agreement import Comparison
from whence.report.html import Section, captioned, cell, picture, table
from whence.report.results import Results

SIDE = 72
"""Pixels of the photograph's sides."""


def section(results: Results, comparisons: list[Comparison]) -> Section | None:
    """None where the page is about methods that the user named."""
    if not {"kernel_shap", "lime_tabular", "lime_text", "anchor_tabular", "lime", "rise"} <= set(method_names()):
        return None
    if len({case.name for case in results.cases}) < len(method_names()) // 2:
        return None
    return Section(
        "black-boxes",
        "Without gradients",
        f'<div class="card">{_of_a_table()}</div><div class="card">{_of_a_sentence()}</div>'
        f'<div class="card">{_of_a_photograph()}</div>',
        lead="Models of which nothing is known but their answers: gradient boosting of scikit-learn, a reader of "
        "sentences, a face detector of scikit-image. The same methods explain networks.",
    )


def _of_a_table() -> str:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier

    data = load_breast_cancer()
    model = GradientBoostingClassifier(n_estimators=40, random_state=0).fit(data.data[:-50], data.target[:-50])
    row, background = data.data[-1:], data.data[:-50:40]
    shap = whence.KernelSHAP(
        baseline=DataSet(background), feature_mask=Columns(data.feature_names), n_samples=600
    ).explain(model, row, 1)
    lime = whence.LIMETabular(data=data.data, names=data.feature_names, n_samples=2000).explain(model, row, 1)
    anchor = whence.AnchorTabular(data=data.data, names=data.feature_names, max_size=3).explain(model, row)
    notes = anchor.provenance.notes
    rule = " and ".join(notes["anchor"][0]) or "no condition at all"
    errors = shap.features.std_error if shap.features is not None else None
    assert errors is not None
    shown = [[name, f"{value:+.3f}", f"± {errors[0, number]:.3f}"] for name, value, number in shap.top(5)[0]]
    fitted = [[name, f"{value:+.3f}"] for name, value, _ in lime.top(5)[0]]
    return (
        f"<h3>A row of scikit-learn's breast cancer table: benign with probability {float(shap.score[0]):.2f}</h3>"
        f'<div class="row">{_listed(["KernelSHAP", "value", "error"], shown)}{_listed(["LIME", "value"], fitted)}</div>'
        f"<p>Anchor: {escape(rule)}. Precision {notes['precision'][0]:.2f} (at least {notes['precision_low'][0]:.2f}), "
        f"coverage {notes['coverage'][0]:.2f}.</p>"
    )


def _of_a_sentence() -> str:
    """A reader of scikit-learn's descriptions of its tables: which of them is a sentence about?"""
    from sklearn import datasets
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    sources = {"breast cancer": datasets.load_breast_cancer, "wine": datasets.load_wine, "iris": datasets.load_iris}
    lines = [(line.strip(), name) for name, load in sources.items()
             for line in load().DESCR.splitlines() if len(line.split()) > 4]  # fmt: skip
    reader = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10)).fit(*map(list, zip(*lines, strict=True)))
    texts = Texts(["The alcohol and malic acid of three cultivars were measured"])
    e = whence.LIMEText(feature_mask=texts.words(), n_samples=2000).explain(
        texts.model(reader.predict_proba), texts.ids
    )
    assert e.target is not None
    name = reader.classes_[int(e.target[0, 0])]
    rows = [[word, f"{value:+.3f}"] for word, value, _ in e.top(5)[0]]
    return (
        f"<h3>“{escape(texts.texts[0])}” is about {escape(name)}, with probability {float(e.score[0]):.2f}</h3>"
        f'<div class="row">{_listed(["LIME", "value"], rows)}</div>'
    )


def _of_a_photograph() -> str:
    from skimage import data, transform

    image = transform.resize(data.astronaut()[:260, 100:360], (SIDE, SIDE), anti_aliasing=True)[None]
    model = whence.wrap(_face_detector(), layout="NHWC")
    mask = Superpixels("slic", {"n_segments": 30, "compactness": 10})
    lime = whence.LIME(feature_mask=mask, n_samples=150).explain(model, image)
    rise = whence.RISE(n_samples=200, baseline="blur").explain(model, image)
    pictures = [captioned(picture(image[0], "a portrait"), "the photograph")]
    for name, e, centre in (("LIME over superpixels", lime, 0.0), ("RISE", rise, float(rise.attributions.mean()))):
        style = HeatMap(channels="mean")
        colours = style.colours(style.maps(e.attributions - centre)[0])[..., :3]
        pictures.append(captioned(picture(0.65 * colours + 0.35 * image[0].mean(-1, keepdims=True), name), name))
    return f'<h3>Is there a face?</h3><div class="row">{"".join(pictures)}</div>'


def _face_detector() -> Callable[[np.ndarray], np.ndarray]:
    """1 where scikit-image's cascade finds a face in an image ``[H, W, 3]`` of a batch."""
    from skimage import data, feature

    cascade = feature.Cascade(data.lbp_frontal_face_cascade_filename())

    def found(image: np.ndarray) -> float:
        return float(len(cascade.detect_multi_scale(
            img=np.clip(image, 0, 1), scale_factor=1.2, step_ratio=1, min_size=(24, 24), max_size=(SIDE, SIDE),
            min_neighbor_number=1)) > 0)  # fmt: skip

    return lambda images: np.array([found(np.asarray(image, np.float64)) for image in images])


def _listed(head: list[str], rows: list[list[Any]]) -> str:
    cells = [[cell(escape(str(value)), "number" if i else "") for i, value in enumerate(row)] for row in rows]
    return table([[cell(escape(name), tag="th") for name in head]], cells, "methods")
