"""The text that the tale model learns: documents of our own grammar, by kind.

Every document is a function of a random.Random alone. What the loss should
weigh more (answers that the context decides) stands between MARK_ON and
MARK_OFF; strip_marks() takes the marks out again.
"""

import random
import re

MARK_ON, MARK_OFF = "\x02", "\x03"

GIRLS = """Mira Anna Lena Ruby Nora Ella Ivy Clara Rosa Tilda Wanda Greta Hilda
Paula Sara Vera Zelda Dora Flora Edith Alma Bella Cora Dina Elsa Fern Gina Hazel
Iris Jane Kate Lucy Mona Nell Olga Pearl Queenie Rita Sally Tess Una Violet Willa
Yetta Agnes Betty Carmen Della""".split()
BOYS = """Tom Ben Hugo Otto Karl Finn Max Paul Emil Anton Bruno Cyril Dan Edgar
Felix Gus Hans Igor Jack Kurt Leo Milo Ned Oscar Pete Quinn Rolf Sam Theo Ulric
Vic Will Xaver Yuri Zack Albert Basil Conrad Dexter Elmer Frank George Henry Ivan
Jonas Kaspar Lars Martin""".split()
NAMES = GIRLS + BOYS
CORE_NAMES = GIRLS[:5] + BOYS[:5]  # these take part in most look-ups

THINGS = """lantern kettle ribbon drum basket mirror whistle spoon ladder candle
boat rope hammer clock coat kite map key box hat bell book cup ring stone shoe flute
needle blanket barrel""".split()
FOODS = "pears apples plums nuts buns eggs figs beans cakes cherries".split()
PLACES = """mill garden harbour forest market tower barn bridge river meadow
kitchen cellar hill well shop school field orchard""".split()
BEASTS = "dog cat fox goat horse hen mouse owl duck donkey".split()
COLOURS = "red green blue white black grey brown yellow".split()
MOODS = ["glad", "sad", "tired", "proud", "afraid", "angry"]
WEATHER = ["cold", "warm", "windy", "rainy", "bright", "foggy", "quiet"]

CONSONANTS = "b d f g h k l m n p r s t v z br dr gr st tr kl fl".split()
VOWELS = "a e i o u".split()


def strip_marks(text):
    """The text without its marks, and the (start, end) spans they held."""
    spans, clean, length = [], [], 0
    for part in re.split(f"({MARK_ON}[^{MARK_OFF}]*{MARK_OFF})", text):
        marked = part.startswith(MARK_ON)
        body = part[1:-1] if marked else part
        if marked:
            spans.append((length, length + len(body)))
        clean.append(body)
        length += len(body)
    return "".join(clean), spans


def marked(answer):
    return f"{MARK_ON}{answer}{MARK_OFF}"


def coin_word(rng, syllables):
    ends = ["n", "l", "r", "s", "t", "m", ""]
    return "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS)
                   for _ in range(syllables)) + rng.choice(ends)


# --- rare words: an invented lexicon whose words come up by Zipf's law -------

KINDS = ["bird", "fish", "tree", "flower", "tool", "stone", "cloth", "dance",
         "bread", "song", "beetle", "boat"]
HOMES = ["north", "south", "east", "west", "islands", "hills", "marshes", "coast"]
LEXICON_SIZE = 400


def make_lexicon():
    rng = random.Random("lexicon")
    taken, lexicon = set(), []
    while len(lexicon) < LEXICON_SIZE:
        word = coin_word(rng, rng.choice([2, 2, 3]))
        if word in taken:
            continue
        taken.add(word)
        lexicon.append((word, rng.choice(KINDS), rng.choice(COLOURS), rng.choice(HOMES)))
    return lexicon


LEXICON = make_lexicon()
ZIPF = [1.0 / (rank + 3) for rank in range(LEXICON_SIZE)]


def rare_entries(rng, count):
    return rng.choices(LEXICON, weights=ZIPF, k=count)


def rare_line(rng, entry):
    word, kind, colour, home = (entry[0], *map(marked, entry[1:]))
    return rng.choice([
        f"A {word} is a kind of {kind}.",
        f"The {word} is a {colour} {kind} from the {home}.",
        f"The colour of a {word} is {colour}.",
        f"Where is the {word} from? It is from the {home}.",
    ])


def rare_document(rng):
    return "\n".join(rare_line(rng, e) for e in rare_entries(rng, rng.randint(3, 12))) + "\n"


# --- sums --------------------------------------------------------------------

def held_out_pairs():
    """A tenth of all pairs low <= high; neither order of them is trained on."""
    pairs = [(a, b) for b in range(10, 100) for a in range(10, b + 1)]
    return frozenset(random.Random("sums").sample(pairs, len(pairs) // 10))


HELD_OUT_PAIRS = held_out_pairs()


def held_out(a, b):
    return (min(a, b), max(a, b)) in HELD_OUT_PAIRS


def training_pair(rng):
    while True:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        if not held_out(a, b):
            return a, b


def sum_line(rng):
    """Mostly two-digit sums; some shorter ones, which teach the single digits."""
    a, b = training_pair(rng)
    pick = rng.random()
    if pick < 0.3:
        b = rng.randint(0, 9)
    if pick < 0.15:
        a = rng.randint(0, 9)
    return f"{a} + {b} = {marked(a + b)}."


def sum_document(rng):
    return "\n".join(sum_line(rng) for _ in range(rng.randint(4, 24))) + "\n"


def sum_story(rng):
    name = rng.choice(NAMES)
    a, b = training_pair(rng)
    food = rng.choice(FOODS)
    pronoun = "She" if name in GIRLS else "He"
    return (f"{name} had {a} {food}. {pronoun} got {b} more. "
            f"{a} + {b} = {marked(a + b)}. Now {name} had {marked(a + b)} {marked(food)}.")


# --- stories -----------------------------------------------------------------

def story_sentence(rng, name, pronoun, thing, place):
    low = pronoun.lower()
    his = "her" if pronoun == "She" else "his"
    beast, other = rng.choice(BEASTS), rng.choice([n for n in NAMES if n != name])
    return rng.choice([
        f"{pronoun} looked behind the {rng.choice(PLACES)}, but the {marked(thing)} was not there.",
        f"{pronoun} asked {other}, but {other} had not seen the {marked(thing)}.",
        f"On the way {low} met a {rng.choice(COLOURS)} {beast}. The {marked(beast)} said nothing.",
        f"It was {rng.choice(WEATHER)}, and {name} was {rng.choice(MOODS)}.",
        f"\"Where is my {marked(thing)}?\" said {name}.",
        f"{pronoun} sat down near the {place} and ate some {rng.choice(FOODS)}.",
        f"{other} came by and gave {name} a {rng.choice(THINGS)} for {his} {rng.choice(BEASTS)}.",
        f"The {beast} in the {rng.choice(PLACES)} was {rng.choice(COLOURS)} and {rng.choice(MOODS)}.",
        f"Then {name} walked from the {rng.choice(PLACES)} to the {rng.choice(PLACES)}.",
        sum_story(rng) if rng.random() < 0.3 else f"{pronoun} thought of the {marked(thing)} and was {rng.choice(MOODS)}.",
    ])


def story(rng, sentences=None):
    name = rng.choice(NAMES)
    pronoun = "She" if name in GIRLS else "He"
    thing, place, colour = rng.choice(THINGS), rng.choice(PLACES), rng.choice(COLOURS)
    count = sentences if sentences is not None else rng.randint(2, 7)
    opening = rng.choice([
        f"One {rng.choice(WEATHER)} day {name} lost a {colour} {thing} near the {place}.",
        f"{name} had a {colour} {thing}. One day it was lost near the {place}.",
        f"Once {name} came to the {place} and left a {colour} {thing} there.",
    ])
    ending = rng.choice([
        f"At last {marked(name)} found the {marked(colour)} {marked(thing)} near the {marked(place)} and was glad.",
        f"In the end {marked(name)} went back to the {marked(place)}, and there was the {marked(colour)} {marked(thing)}.",
    ])
    middle = [story_sentence(rng, name, pronoun, thing, place) for _ in range(count)]
    return " ".join([opening, *middle, ending])


def story_document(rng):
    return "\n".join(story(rng) for _ in range(rng.randint(1, 3))) + "\n"


# --- look-ups ----------------------------------------------------------------

def lookup_names(rng, count):
    """Mostly the core names, else any first names or ones never seen before."""
    pick = rng.random()
    if pick < 0.75:
        return rng.sample(CORE_NAMES, count)
    if pick < 0.9:
        return rng.sample(NAMES, count)
    names = []
    while len(names) < count:
        name = coin_word(rng, 2).capitalize()
        if name not in names:
            names.append(name)
    return names


def code(rng):
    return f"{rng.randint(0, 9999):04d}"


def fact(name, value):
    return f"The code of {name} is {value}."


def question(name, value):
    return f"What is the code of {name}? {value}."


def tag(name, value):
    return f"{name}{value}."


def entry(name, value):
    return f"{name} {value}."


DRILLS = [[tag], [tag, entry], [entry], [entry, fact], [tag, question], [fact, question],
          [question], [tag, entry, fact, question]]


def lookup_drill(rng):
    """Few names, asked for again and again, in forms where the name stands ever
    farther before its code: here the binding of the two is learnt."""
    names = lookup_names(rng, rng.choice([2, 2, 3, 3, 4, 5]))
    codes = {name: code(rng) for name in names}
    forms = rng.choice(DRILLS)
    told = rng.choice([form for form in forms if form is not question] or [fact])
    asked = rng.choices(names, k=rng.randint(6, 14))
    lines = [told(n, codes[n]) for n in names]
    lines += [rng.choice(forms)(marked(n), marked(codes[n])) for n in asked]
    return rng.choice(["\n", " "]).join(lines) + "\n"


def lookup_document(rng, filler, gap):
    """Facts among gap sentences of filler(rng), more such sentences, then questions.

    Every name is asked for, in random order, some of them twice."""
    count = rng.choice([1, 2, 2, 3, 3, 4, 5, 6])
    names = lookup_names(rng, count)
    codes = {name: code(rng) for name in names}
    facts = [fact(n, codes[n]) for n in names]
    gaps = [filler(rng) for _ in range(gap)]
    early = rng.randint(0, len(gaps) // 2)
    before = facts + gaps[:early]
    if rng.random() < 0.7:
        rng.shuffle(before)
    asked = rng.sample(names, count) + rng.choices(names, k=rng.randint(0, 2))
    form = rng.choice([question, question, question, fact])
    questions = [form(marked(n), marked(codes[n])) for n in asked]
    separator = rng.choice(["\n", " "])
    return separator.join(before + gaps[early:] + questions) + "\n"
