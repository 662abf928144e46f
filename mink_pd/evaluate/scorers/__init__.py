"""Scorers evaluate detections in a data set. Each is one file and is registered in SCORERS."""

from mink_pd.evaluate.scorers.scorer import Kept, Scorer, check_metric, headline, make_scorer, scorer_of

__all__ = ["Kept", "Scorer", "check_metric", "headline", "make_scorer", "scorer_of"]
