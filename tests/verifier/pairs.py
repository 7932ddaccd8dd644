"""Answers for the tests of the verifier: (accepted, found) that mean the same, that differ; and attacks."""

import random


SAME = [
    # numbers
    ("1/2", r"\frac12"),
    ("1/2", "0.5"),
    ("1/2", ".5"),
    ("1/2", r"50\%"),
    ("1/2", r"\dfrac{2}{4}"),
    ("1/2", "2^{-1}"),
    (r"\frac43", r"\frac{4}{3}"),
    (r"\frac{4}{3}", r"\frac43"),
    (r"\frac{4}{3}", r"1\frac{1}{3}"),
    (r"\frac{4}{3}", "1.333333333"),
    (r"11\sqrt2", r"11\sqrt{2}"),
    (r"11\sqrt{2}", r"\sqrt{242}"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt 3}"),
    ("1000", "1,000"),
    ("1000", "1{,}000"),
    ("10000", r"10\,000"),
    (r"12,\!441,\!600", "12441600"),
    ("034", "34"),
    ("142.0", "142"),
    ("42", "42."),
    ("42", "{42}"),
    ("42", "$42$"),
    ("42", "-(-42)"),
    (r"3\pi", r"\pi \cdot 3"),
    (r"\ln 8", r"3\ln 2"),
    ("10", r"\binom{5}{2}"),
    ("101_2", "101_{2}"),
    # negative
    ("-3", "-3.0"),
    ("-3", "−3"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    ("0", "-0"),
    # units
    ("5", r"5 \text{ cm}"),
    (r"5\text{ cm}", "5"),
    ("5", r"5\,\mathrm{m/s}"),
    ("30", r"30^\circ"),
    ("5", r"\$5"),
    # equations and words
    ("5", "x=5"),
    ("5", "x = 2+3 = 5"),
    ("y=2x+1", "y=1+2x"),
    ("y=2x+1", "2x-y+1=0"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{(C)}", "C"),
    # expressions
    ("x^2+2x+1", "(x+1)^2"),
    (r"\sin^2 x+\cos^2 x", "1"),
    ("1+2i", "2i+1"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
    # sets, tuples, intervals
    (r"\{1,2\}", r"\{2, 1\}"),
    ("1,2", r"x=1 \text{ or } x=2"),
    (r"\pm 3", "3,-3"),
    ("(1,2)", "(1, 2)"),
    ("[1,2)", "[1, 2)"),
    ("[1,2]", r"x\in[1,2]"),
    (r"(-\infty,3)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,3)"),
    # huge exponents
    ("256", "2^{2^3}"),
    ("65536", "2^{2^{2^{2}}}"),
    ("10^{100}", r"10^{99}\cdot 10"),
    ("2^{1000}", r"\frac{2^{1001}}{2}"),
    ("9^{9^{9^{9}}}", "9^{9^{9^{9}}}"),
]

DIFFERENT = [
    ("42", "43"),
    ("42", "-42"),
    ("42", "42x"),
    ("42", "4242"),
    ("42", "4 2"),
    ("42", r"4\,2"),
    ("42", "42!"),
    ("42", "41,42"),
    ("42", r"42 \text{ or } 43"),
    ("42", r"\text{not }42"),
    ("42", r"\ne 42"),
    ("42", "forty-two"),
    ("42", "?"),
    ("42", "nan"),
    ("42", r"\infty"),
    ("42", r"\frac{42}{0}"),
    ("42", r"\text{any number}"),
    ("12", "12.01"),
    (r"\frac{1}{3}", "0.33"),
    ("0.33", r"\frac13"),
    (r"11\sqrt2", "15.5563"),
    (r"2\frac12", "1"),
    (r"\infty", r"-\infty"),
    ("11011100_2", "11011100_8"),
    ("24_{10}", "24_{16}"),
    (r"\pm 3", "3"),
    ("x^2+2x+1", "(x+1)^3"),
    ("2x+1", "2y+1"),
    ("p-q", "q-p"),
    ("1+2i", "1-2i"),
    ("y=2x+1", "y=2x-1"),
    (r"\text{Evelyn}", r"\text{Briana}"),
    (r"\text{even}", r"\text{odd}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    ("1,2", "1"),
    ("1,2", "1,2,3"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[1,2)", "(1,2]"),
    ("10^{100}", "10^{99}"),
    ("2^{1000}", "2^{1001}"),
    ("9^{9^{9^{9}}}", "9^{9^{9^{8}}}"),
    # deep nesting, 100 kB, binary rubbish
    ("1", "(" * 200 + "2" + ")" * 200),
    ("1", r"\sqrt{" * 400 + "2" + "}" * 400),
    ("1", "1" * 100_000),
    ("1", "1+" * 50_000 + "1"),
    ("1", r"\frac{1}{" * 10_000 + "1" + "}" * 10_000),
    ("1", "\x001\x1b\x07"),
    ("1", bytes(range(256)).decode("latin-1").replace("{", "").replace("}", "").replace("\\", "")),
    ("1", "\ud800\udfff1"),
]

# Each takes a number, so that no two of a storm are the same. None of them is any of the answers in ATTACKED.
ATTACKED = ["42", r"\frac{1}{2}", "x^2+1", "(1, 2]", r"\{3, 5\}", "y=2x+1"]
ATTACKS = [
    "9^{{9^{{{n}}}}}",
    "9^{{9^{{9^{{{n}}}}}}}",
    "({n}^{{9}})^{{9^{{9}}}}",
    "2^{{10^{{{n}}}}}",
    "7^{{10^{{{n}}}}} \\mod 13",
    "{n}00000!",
    "(({n}!)!)!",
    r"\binom{{{n}0000000}}{{5000000}}",
    r"\sum_{{k=1}}^{{{n}0^{{9}}}} \frac{{1}}{{k}}",
    r"\prod_{{k=1}}^{{10^{{{n}}}}} k",
    r"\int \sin(\sin(x^{{{n}}})) \sqrt{{\log x}} \, dx",
    "(x+y+z)^{{{n}00}}",
    "(1+x)^{{{n}000}}",
    r"\tan\theta={n}\theta",
    r"x^{{{n}}}+x+1=\sin(x)",
    r"\gcd(10^{{99999}}, {n}^{{99999}})",
    r"\lim_{{x\to\infty}}\frac{{\sin x^{{x}}}}{{x!+{n}}}",
    r"\frac{{{n}}}{{0}}",
    r"\infty-\infty+{n}",
    r"\log_{{1}}{{{n}}}",
    r"__import__('os').system('touch hacked{n}')",
    r"\text{{42 or }} {n} \text{{ and }} \frac{{1}}{{2}}",
    "{n}4\u200b2\u0301",
    "\u202e24{n}",
]


def hostile_answers(count: int, seed: int = 0) -> list[str]:
    """So many different answers that hang, crash, flood or fool a verifier; the same ones for the same seed."""
    generator = random.Random(seed)
    answers = [attack.format(n=11 + row) for row in range(count // 30) for attack in ATTACKS]
    while len(answers) < count:
        depth = generator.randint(20, 500)
        answers += [
            generator.randbytes(depth).decode("latin-1"),
            "(" * depth + "1" + ")" * depth,
            r"\frac{1}{1+" * depth + "1" + "}" * depth,
            r"\left[" * depth + r"\begin{matrix}",
            "".join(generator.choices(r"0123456789+-*/^_=<>!(){}[]\,.;|& xyπ∞√$%", k=depth)),
            "1+" * (depth * 200) + "1",
        ]
    generator.shuffle(answers)
    return answers[:count]
