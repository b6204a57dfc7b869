"""Base files of llama-perplexity, and the figures it makes of them, in NumPy: written from the layout's description."""

import numpy

FLOOR = -16.0


def log_softmax(logits):
    logits = logits.astype(numpy.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - numpy.log(numpy.exp(logits).sum(-1, keepdims=True))


def scored(context):
    """Positions of a window whose logits are looked at."""
    return numpy.arange(context // 2, context - 1)


def encode(logits):
    """One row: (scale, lowest log-probability, codes)."""
    logits = logits.astype(numpy.float32)
    largest = logits.max()
    lowest = max(logits.min(), largest - numpy.float32(16))
    scale = numpy.float32((largest - lowest) / numpy.float32(65535))
    norm = numpy.log(numpy.exp(logits.astype(numpy.float64) - largest).sum())
    codes = numpy.clip(numpy.rint((logits - lowest) / scale), 0, 65535).astype("<u2")
    return scale, numpy.float32(lowest - largest - norm), codes


def decode(row):
    scale, lowest, codes = row
    return (scale * codes.astype(numpy.float32) + lowest).astype(numpy.float64)


def write(path, context, tokens, logits):
    """tokens [windows][context]; logits [windows][rows][vocabulary]. Returns the log-probabilities that a reader sees."""
    vocabulary = logits.shape[-1]
    rows = [encode(row) for row in logits.reshape(-1, vocabulary)]
    with open(path, "wb") as out:
        out.write(b"_logits_" + numpy.array([context, vocabulary, len(tokens)], "<i4").tobytes())
        out.write(numpy.asarray(tokens, "<i4").tobytes())
        for scale, lowest, codes in rows:
            out.write(numpy.array([scale, lowest], "<f4").tobytes() + codes.tobytes() + b"\0\0" * (vocabulary % 2))
    return numpy.array([decode(row) for row in rows])


def figures(base, logits, targets):
    """What llama-perplexity prints of rows of base log-probabilities, a model's logits and the true tokens."""
    q, rows, n = log_softmax(logits), numpy.arange(len(targets)), len(targets)
    terms = numpy.where(base > FLOOR, numpy.exp(base) * (base - q), 0)
    kld, loss, base_loss = terms.sum(-1), -q[rows, targets], -base[rows, targets]
    change = numpy.exp(-loss) - numpy.exp(-base_loss)
    same = (q.argmax(-1) == base.argmax(-1)).mean()
    error = lambda x: numpy.sqrt(x.var() / (n - 1))
    covariance = ((loss * base_loss).mean() - loss.mean() * base_loss.mean()) / (n - 1)
    rms = numpy.sqrt((change**2).mean())
    return {
        "perplexity": {
            "value": (numpy.exp(loss.mean()), numpy.exp(loss.mean()) * error(loss)),
            "reference": (numpy.exp(base_loss.mean()), numpy.exp(base_loss.mean()) * error(base_loss)),
            "ln_ratio": (loss.mean() - base_loss.mean(),
                         numpy.sqrt(error(loss) ** 2 + error(base_loss) ** 2 - 2 * covariance)),
        },
        "kld": {
            "mean": (kld.mean(), error(kld)), "max": (kld.max(), None), "median": (numpy.median(kld), None),
            "p99": (numpy.quantile(kld, 0.99), None), "p99_9": (numpy.quantile(kld, 0.999), None),
            "min": (kld.min(), None), "same_top": (same, numpy.sqrt(same * (1 - same) / (n - 1))),
            "delta_p_mean": (change.mean(), error(change)), "delta_p_rms": (rms, 0.5 / rms * error(change**2)),
        },
    }
