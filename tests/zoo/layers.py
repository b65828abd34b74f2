"""Layers that give the same activations in every framework, from early to late; with attention, [B, tokens, dim]."""

LAYERS: dict[str, dict[str, tuple[str, ...]]] = {
    "digits_cnn": {
        "torch": ("conv1", "conv2"),
        "flax": ("conv1", "conv2"),
        "keras": ("conv1", "conv2"),
    },
    "vgg": {
        "torch": ("relu2", "conv3", "relu4"),
        "flax": ("relu2", "conv3", "relu4"),
        "keras": ("relu2", "conv3", "relu4"),
    },
    "vgg_gap": {
        "torch": ("relu2", "conv3", "relu4"),
        "flax": ("relu2", "conv3", "relu4"),
        "keras": ("relu2", "conv3", "relu4"),
    },
    "resnet": {
        "torch": ("stage1.1", "stage4.1.bn2", "stage4.1"),
        "flax": ("stage1.1", "stage4.1.bn2", "stage4.1"),
        "keras": ("stage1_1", "stage4_1/bn2", "stage4_1"),
    },
    "resnet_same": {
        "torch": ("bn1", "block1", "block2"),
        "flax": ("bn1", "block1", "block2"),
        "keras": ("bn1", "block1", "block2"),
    },
    "nested": {
        "torch": ("backbone.bn1", "backbone.conv2", "backbone"),
        "flax": ("backbone.bn1", "backbone.conv2", "backbone"),
        "keras": ("backbone/bn1", "backbone/conv2", "backbone"),
    },
    # Nothing but the class token of the last block reaches the head: its patches have no gradient behind the attention.
    "vit": {
        "torch": ("blocks.0", "blocks.1.norm1"),
        "flax": ("blocks.0", "blocks.1.norm1"),
        "keras": ("blocks_0", "blocks_1/norm1"),
    },
}
"""``LAYERS[network][framework]``: the names that ``whence`` gives them; images have their channels first on torch."""
