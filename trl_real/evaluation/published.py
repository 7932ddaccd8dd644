"""
Pass@1 that the paper reports (arXiv 2602.05630, Tables 1 and 2), to stand beside one's own.

Mean of 16 samples with temperature 0.6, top_p 0.95 and 8,192 tokens. The rows with * are cited there from others. The
last number is the average that the paper prints; one of its own columns would now and then differ by 0.001.
"""

COLUMNS = ("aime24", "aime25", "math500", "amc23", "minerva", "olympiad")

TABLES: dict[str, dict[str, tuple[float | None, ...]]] = {
    "1.5B on DeepScaleR-Preview (Table 1)": {
        "OpenAI-o1-Preview*": (0.400, None, 0.814, None, None, None, None),
        "DS-Distill-Qwen-1.5B*": (0.181, 0.215, 0.758, 0.515, 0.237, 0.353, 0.376),
        "DSR-1.5B-Preview*": (0.358, 0.258, 0.860, 0.679, 0.297, 0.473, 0.488),
        "GRPO": (0.235, 0.229, 0.824, 0.600, 0.264, 0.435, 0.431),
        "DAPO": (0.298, 0.215, 0.837, 0.663, 0.295, 0.448, 0.459),
        "TRPA*": (0.354, 0.235, 0.835, 0.653, 0.283, 0.458, 0.470),
        "GSPO": (0.377, 0.296, 0.877, 0.730, 0.326, 0.506, 0.519),
        "REAL": (0.406, 0.321, 0.877, 0.734, 0.310, 0.508, 0.526),
    },
    "7B on DeepScaleR-Preview (Table 2)": {
        "DS-Distill-Qwen-7B*": (0.402, 0.292, 0.873, 0.688, 0.355, 0.471, 0.513),
        "GRPO*": (0.498, 0.394, 0.916, 0.807, 0.381, 0.555, 0.592),
        "DAPO*": (0.454, 0.335, 0.907, 0.799, 0.388, 0.535, 0.570),
        "TRPA*": (0.510, 0.367, 0.898, 0.779, 0.379, 0.534, 0.578),
        "GSPO": (0.525, 0.396, 0.926, 0.852, 0.402, 0.588, 0.615),
        "REAL": (0.571, 0.433, 0.929, 0.858, 0.402, 0.602, 0.632),
    },
}
