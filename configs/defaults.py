"""Every field that a config may have, with its default. A page sets what differs."""

from ml_collections import ConfigDict


def defaults() -> ConfigDict:
    """All fields; misspelt ones are refused from here on."""
    config = ConfigDict()
    config.seed = 0  # of initialisation, order of the data, augmentation and dropout
    config.deterministic = False  # GPU: the same bits in every run, and slower
    config.accumulate = 1  # parts of a batch, one after the other: less memory, ghost statistics
    config.ghost_batch = 0  # images that are normalised together; 0: all of the batch
    config.max_skipped = 10  # steps in a row that may be skipped for not being finite
    config.parallel = (
        "jit"  # over all devices; "pmap" runs the same step for those whose code is built on it
    )
    config.log_every = 50  # steps between looks at the metrics

    config.data = ConfigDict()
    config.data.name = "digits"
    config.data.dir = "data"  # relative to the checkout, or absolute
    config.data.batch_size = 256  # global: over all devices and processes
    config.data.source = ""  # cifar10, cifar100, imagenet: the archives' place; "": <dir>/downloads
    config.data.in_memory = False  # decode everything once, gather batches from one array
    config.data.repeats = 1  # copies of an image in its batch, each augmented anew
    config.data.workers = 0  # processes that read, if not in memory; 0 for threads
    config.data.folder = ""  # of a person's own images (name = "folder"), see configs/folder.py
    config.data.image_size = 224  # pixels, what the network sees; digits and cifar have their own
    config.data.stored_size = 0  # of what is stored for random crops; 0: an eighth more
    config.data.validation_fraction = 0.1  # of the training images; of a folder if there is no val
    config.data.test_fraction = 0.1  # folder: of all images, if there is no train; 0 for no test
    config.data.split_seed = 0  # which images these are
    config.data.skip_unreadable = False  # leave out damaged images; else they are refused
    config.data.augment = ConfigDict()  # at random, every image anew; 0 or False: not
    config.data.augment.shift = 0.0  # pixels along each axis
    config.data.augment.rotate = 0.0  # degrees either way
    config.data.augment.scale = 0.0  # 0.1: by a factor in 0.9..1.1
    config.data.augment.shear = 0.0  # degrees by which vertical lines lean
    config.data.augment.crop_area = (1.0, 1.0)  # least and most of the image that a crop shows
    config.data.augment.flip = False  # left and right, half of the images
    config.data.augment.crop_padding = 0  # pixels of zeros around, before a crop of the old size
    config.data.augment.cutout = 0  # pixels, side of a square set to zero

    config.data.augment.erase = 0.0  # share of the images in which noise covers a rectangle
    config.data.augment.random_ops = 0  # RandAugment: so many changes of colour or shape ...
    config.data.augment.magnitude = 9.0  # ... of this strength, 0 to 10
    config.data.mix = ConfigDict()  # images with their neighbours in the batch
    config.data.mix.mixup = 0.0  # of the beta distribution of shares; 0: not
    config.data.mix.cutmix = 0.0  # likewise, for rectangles
    config.data.mix.probability = 1.0  # share of the images that are mixed
    config.data.mix.off_epochs = 0.0  # at the end, without

    config.model = ConfigDict()
    config.model.name = "seresnet20"
    config.model.dtype = "float32"  # of the computation, or "bfloat16"; variables are float32
    config.model.init_from = ""  # a run's directory, a file of weights, a tag; "": at random
    config.model.options = ConfigDict()  # any further options of senet_jax.create_model

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # or "adamw", "lamb"
    config.optimizer.weight_decay = (
        1e-4  # not of biases and norms' scales; sgd adds it to the gradient
    )
    config.optimizer.decay_attention = True  # False: not of attention's own layers, either
    config.optimizer.momentum = 0.9  # sgd
    config.optimizer.nesterov = True  # sgd
    config.optimizer.beta1 = 0.9  # adamw, lamb
    config.optimizer.beta2 = 0.999  # adamw, lamb
    config.optimizer.epsilon = 1e-8  # adamw, lamb
    config.optimizer.clip_norm = 0.0  # the most that the whole gradient's norm may be; 0: any
    config.optimizer.clip_adaptive = 0.0  # ... that of a unit's, as a share of the unit's own
    config.optimizer.frozen = ()  # parts that stay as they are: ("stem", "stage1", ...)
    config.optimizer.layer_decay = 1.0  # factor of the rate from each block to the one below
    config.optimizer.head_rate = 1.0  # factor of the rate of the head

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"  # to zero, or "step"
    config.schedule.epochs = 100
    config.schedule.learning_rate = 0.1  # for a batch of 256; grows in proportion to the batch
    config.schedule.warmup_epochs = 5.0
    config.schedule.milestones = (
        30,
        60,
        90,
    )  # step: the epochs at which the rate is multiplied ...
    config.schedule.factor = 0.1  # ... by this

    config.penalty = ConfigDict()  # makes channels dispensable, see train/penalty.py
    config.penalty.name = "none"  # of gates: "l1", "hinge", "target", "relative"; of batch norms'
    config.penalty.weight = 0.0  # scales: "slimming", "slimming_proximal"
    config.penalty.rate = 0.25  # hinge, target: what the mean gate is to come to
    config.penalty.polarisation = 0.0  # of gates: a share for mean g (1 - g)
    config.penalty.warmup_epochs = 0.0  # in which the weight grows from zero

    config.loss = "cross_entropy"  # or "binary_cross_entropy"
    config.label_smoothing = 0.0  # share of the target spread evenly over all classes
    config.ema_decay = 0.0  # moving average of parameters and running statistics; 0 for none

    config.evaluation = ConfigDict()
    config.evaluation.every_epochs = 1  # evaluate on the validation split and save
    config.evaluation.batch_size = 256
    config.evaluation.patience = 0  # evaluations without a better one before it stops; 0: never
    config.evaluation.keep = 2  # last checkpoints that stay, beside the best; to average more

    return config.lock()
