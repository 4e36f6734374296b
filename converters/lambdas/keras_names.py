"""The names that a model file may use for what Keras itself provides, without importing Keras.

From what Keras 3.15 writes and what Keras 2 wrote; a test compares them with the installed Keras. They are exact on
purpose: the module `keras` also holds functions that fetch files and switch protections off (CVE-2025-8747, -9906).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "ACTIVATIONS",
    "CLASSES",
    "FORBIDDEN_LAYERS",
    "LAYERS",
    "LOSS_FUNCTIONS",
    "MODELS",
    "OPERATIONS",
    "RAW_LAYERS",
    "REMOVED_LAYERS",
]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODELS = _names("Functional Model Sequential")

LAYERS = _names("""
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention
    AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
    BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
    Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D
    Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense
    DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten
    FlaxLayer GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D
    GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
    GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup JaxLayer LSTM LSTMCell Lambda
    Layer LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention Multiply Normalization
    PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness RandomColorDegeneration
    RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip
    RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector
    Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D
    SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract TFSMLayer
    TextVectorization TimeDistributed TorchModuleWrapper UnitNormalization UpSampling1D UpSampling2D
    UpSampling3D Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")

# Layers of Keras's own that bring in what is not in the file's weights, and what each would bring in.
FORBIDDEN_LAYERS: Mapping[str, str] = {
    "FlaxLayer": "runs a function of JAX that the file names",
    "JaxLayer": "runs a function of JAX that the file names",
    "TFSMLayer": "loads a TensorFlow SavedModel from a path that the file names",
    "TorchModuleWrapper": "unpickles a PyTorch module (CVE-2025-49655)",
}

# How Keras 2 stored TensorFlow functions that were called on symbolic tensors. Keras 3 knows none of them.
RAW_LAYERS = _names("ClassMethod InstanceMethod InstanceProperty SlicingOpLambda TFOpLambda TensorFlowOpLayer")

# Layers of Keras 1 and 2 that Keras 3 no longer has.
REMOVED_LAYERS = _names("""
    AbstractRNNCell BatchNormalizationV1 BatchNormalizationV2 CuDNNGRU CuDNNLSTM DenseFeatures Highway
    LocallyConnected1D LocallyConnected2D MaxoutDense Merge RandomHeight RandomWidth SequenceFeatures
    SyncBatchNormalization ThresholdedReLU UnifiedGRU UnifiedLSTM
""")

ACTIVATIONS = _names("""
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
    sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
""")

# Of keras.losses and keras.metrics; they stand in the compile_config of a nested model.
LOSS_FUNCTIONS = _names("""
    binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy categorical_crossentropy
    categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge circle
    concordance_correlation cosine_similarity ctc dice hinge huber kl_divergence log_cosh mean_absolute_error
    mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error pearson_correlation poisson
    sparse_categorical_accuracy sparse_categorical_crossentropy sparse_top_k_categorical_accuracy squared_hinge
    top_k_categorical_accuracy tversky
""")

_POLICIES = _names("""
    AWQDTypePolicy DTypePolicy DTypePolicyMap FloatDTypePolicy GPTQDTypePolicy Int4DTypePolicy Policy
    QuantizedDTypePolicy QuantizedFloat8DTypePolicy
""")

# Module by module, the classes that a file may name in it. Where Keras keeps a class depends on its version.
CLASSES: Mapping[str, frozenset[str]] = {
    "keras": MODELS | _POLICIES | {"Layer"},
    "keras.models": MODELS,
    "keras.src.models.functional": MODELS,
    "keras.src.models.model": MODELS,
    "keras.src.models.sequential": MODELS,
    # Keras 2.12, then 2.13 to 2.15.
    "keras.engine.functional": MODELS,
    "keras.engine.sequential": MODELS,
    "keras.engine.training": MODELS,
    "keras.src.engine.functional": MODELS,
    "keras.src.engine.sequential": MODELS,
    "keras.src.engine.training": MODELS,
    "keras.layers": LAYERS,
    "keras.src.applications.convnext": _names("LayerScale StochasticDepth"),
    "keras.src.applications.inception_resnet_v2": _names("CustomScaleLayer"),
    "keras.initializers": _names("""
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform
        Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT STFTInitializer TruncatedNormal
        VarianceScaling Zeros
    """),
    "keras.regularizers": _names("L1 L1L2 L2 OrthogonalRegularizer"),
    "keras.constraints": _names("MaxNorm MinMaxNorm NonNeg UnitNorm"),
    "keras.dtype_policies": _POLICIES,
    "keras.mixed_precision": _POLICIES,
    "keras.quantizers": _names("""
        AWQConfig AbsMaxQuantizer Float8QuantizationConfig GPTQConfig Int4QuantizationConfig Int8QuantizationConfig
        QuantizationConfig
    """),
    "keras.random": _names("SeedGenerator"),
    "keras.optimizers": _names("""
        Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer MultiOptimizer Muon Nadam
        RMSprop SGD ScheduleFreeAdamW
    """),
    "keras.optimizers.schedules": _names("""
        CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay PolynomialDecay
    """),
    "keras.losses": _names("""
        BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy
        CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice Hinge Huber KLDivergence
        LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError
        Poisson SparseCategoricalCrossentropy SquaredHinge Tversky
    """),
    "keras.metrics": _names("""
        AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy
        CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives
        Hinge IoU KLDivergence LogCoshError Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU
        MeanMetricWrapper MeanSquaredError MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation
        Poisson Precision PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
        SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
        SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum TopKCategoricalAccuracy
        TrueNegatives TruePositives
    """),
}

# Modules of operation classes: `keras.ops` calls in a functional model are stored as `Max` of `keras.src.ops.numpy`.
# Keras opens only its own serialisable classes there, so the several hundred names need not be listed.
OPERATIONS = frozenset(
    ["keras.src.activations.activations"]
    + [f"keras.src.ops.{name}" for name in ("core", "einops", "image", "linalg", "math", "nn", "numpy")]
)
