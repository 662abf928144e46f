"""The methods that PointDistiller is compared and combined with: one module each (table: docs/methods.md).

Adding one is a subclass of ``Method`` here, a section in ``mink_pd/config/methods.py`` and a line in ``OTHERS``.
"""

from mink_pd.distill.methods.attention_guided import AttentionGuided
from mink_pd.distill.methods.attention_transfer import AttentionTransfer
from mink_pd.distill.methods.fine_grained import FineGrained
from mink_pd.distill.methods.fitnets import FitNets
from mink_pd.distill.methods.localisation import Localisation
from mink_pd.distill.methods.logits import Logits
from mink_pd.distill.methods.method import Method
from mink_pd.distill.methods.overhaul import Overhaul
from mink_pd.distill.methods.relational import Relational
from mink_pd.distill.methods.similarity import Similarity
from mink_pd.distill.methods.sparsekd import SparseKD

OTHERS: dict[str, type[Method]] = {
    "fitnets": FitNets,
    "attention_transfer": AttentionTransfer,
    "similarity": Similarity,
    "overhaul": Overhaul,
    "fine_grained": FineGrained,
    "attention_guided": AttentionGuided,
    "localisation": Localisation,
    "logits": Logits,
    "relational": Relational,
    "sparsekd": SparseKD,
}

__all__ = ["OTHERS", "Method"]
