"""The paper's experiment on any images: every image, model, method and masking, measured, recorded and reported.

``captum-ad study`` and ``python -m captum_ad.study`` run it on a folder of images; :func:`captum_ad.metrics.compare`
runs it on tensors. Where to start: :mod:`~captum_ad.study.units` defines a unit of work,
:mod:`~captum_ad.study.measuring` measures it, :mod:`~captum_ad.study.store` records it, and
:mod:`~captum_ad.study.processes` distributes units over processes.
"""

import captum_ad.metrics  # noqa: F401  # has to come first, because its compare imports from here
