"""The paper's experiment on any images: every image, model, method and masking, measured, recorded and reported.

``captum-ad study`` and ``python -m captum_ad.study`` run it from a folder of images; :func:`captum_ad.metrics.compare`
runs it on tensors. To read the algorithm: :mod:`~captum_ad.study.units` says what is done at a time,
:mod:`~captum_ad.study.measuring` what is measured then, :mod:`~captum_ad.study.store` how it is kept, and
:mod:`~captum_ad.study.processes` who takes which unit.
"""

import captum_ad.metrics  # noqa: F401  # whose compare imports from here: it has to come first
