"""Answers for the tests of the verifier: an accepted one, and those that mean the same or differ; and attacks."""

import random


Pairs = list[tuple[str, str]]


def read_pairs(table: str) -> Pairs:
    """Every line has an accepted answer and, behind ⇔, found ones."""
    rows = [line.split(" ⇔ ") for line in table.strip().splitlines()]
    return [(accepted, found) for accepted, *answers in rows for found in answers]


# Among them spellings that only a normalizer reads, and those of other graders
SAME = read_pairs(r"""
1/2 ⇔ \frac12 ⇔ 0.5 ⇔ .5 ⇔ 50\% ⇔ \dfrac{2}{4} ⇔ 2^{-1}
\frac43 ⇔ \frac{4}{3}
\frac{4}{3} ⇔ \frac43 ⇔ 1\frac{1}{3} ⇔ 1.333333333
11\sqrt2 ⇔ 11\sqrt{2}
11\sqrt{2} ⇔ \sqrt{242} ⇔ x = 11\sqrt{2} ⇔ 11\sqrt{2} \text{ cm}
\frac{5}{7} ⇔ x = \frac{5}{7} ⇔ \frac{5}{7} \text{ cm}
(-5, 7] ⇔ x = (-5, 7] ⇔ (-5, 7] \text{ cm}
x^2+5x-7 ⇔ x = x^2+5x-7 ⇔ x^2+5x-7 \text{ cm}
\frac{\sqrt{3}}{3} ⇔ \frac{1}{\sqrt 3}
1000 ⇔ 1,000 ⇔ 1{,}000
10000 ⇔ 10\,000
12,\!441,\!600 ⇔ 12441600
034 ⇔ 34
142.0 ⇔ 142
42 ⇔ 42. ⇔ {42} ⇔ $42$ ⇔ -(-42)
3\pi ⇔ \pi \cdot 3 ⇔ 3pi
\ln 8 ⇔ 3\ln 2
10 ⇔ \binom{5}{2} ⇔ \textcolor{red}{10} ⇔ 10 weeks ⇔ {\bf 10}
101_2 ⇔ 101_{2}
-3 ⇔ -3.0 ⇔ −3
-\frac{1}{2} ⇔ \frac{-1}{2}
0 ⇔ -0
5 ⇔ 5 \text{ cm} ⇔ 5\,\mathrm{m/s} ⇔ \$5 ⇔ x=5 ⇔ x = 2+3 = 5 ⇔ 5~ ⇔ 5 \text{ square units} ⇔ x = 5 ⇔ \$5.00
5 ⇔ 5\text{ m/s}
5\text{ cm} ⇔ 5
30 ⇔ 30^\circ
y=2x+1 ⇔ y=1+2x ⇔ 2x-y+1=0
\text{Evelyn} ⇔ Evelyn
\text{(C)} ⇔ C
x^2+2x+1 ⇔ (x+1)^2
\sin^2 x+\cos^2 x ⇔ 1
1+2i ⇔ 2i+1
\begin{pmatrix}1\\2\end{pmatrix} ⇔ \begin{bmatrix}1\\2\end{bmatrix}
\{1,2\} ⇔ \{2, 1\}
1,2 ⇔ x=1 \text{ or } x=2
\pm 3 ⇔ 3,-3
(1,2) ⇔ (1, 2) ⇔ \big(1, 2\big)
[1,2) ⇔ [1, 2)
[1,2] ⇔ x\in[1,2]
(-\infty,3)\cup(3,\infty) ⇔ (3,\infty)\cup(-\infty,3)
256 ⇔ 2^{2^3}
65536 ⇔ 2^{2^{2^{2}}}
10^{100} ⇔ 10^{99}\cdot 10
2^{1000} ⇔ \frac{2^{1001}}{2}
9^{9^{9^{9}}} ⇔ 9^{9^{9^{9}}}
2^{200} ⇔ 1606938044258990275541962092341162602522202993782792835301376
\frac{100!}{2^{50}} ⇔ \frac{100 \cdot 99!}{2^{50}}
\frac{2^{100}-1}{2^{100}} ⇔ 1-\frac{1}{2^{100}}
10^{60}\sqrt{2} ⇔ \frac{2 \cdot 10^{60}}{\sqrt{2}}
9^{9^9} ⇔ 3^{2 \cdot 9^9}
x^{100}+x^{99} ⇔ (x+1)x^{99}
1e-5 ⇔ 10^{-5} ⇔ 1 \times 10^{-5}
1.70e4 ⇔ 17000
6-5i ⇔ 6 - 5 i ⇔ 6-5\mathrm{i}
6 - 5 i ⇔ 6-5i
$(-\infty, 0) \cup\{1\}$. ⇔ (-\infty,0)\cup\{1\}
8.7e8 ⇔ 870000000 ⇔ 8.7\cdot10^8
870000000 ⇔ 0.87 \times 10^{9}
90 ⇔ 90° ⇔ 90\degree
(2,\infty) ⇔ x > 2
\frac{1}{3} ⇔ 0.\overline{3}
\emptyset ⇔ \varnothing
17.5\% ⇔ 17.5 ⇔ 0.175
\sqrt{2} ⇔ √2 ⇔ \sqrt{2} \approx 1.414
x^2 ⇔ x²
\frac12 ⇔ ½
\frac32 ⇔ 1 1/2
2 ⇔ 17 \bmod 5
1.4e-10 ⇔ 1.4 \times 10^{-10} \text{ m}
5 \text{ cm} ⇔ 5\,\mathrm{cm}
12 ⇔ 3 \cdot 4 = 12
\frac{1}{2} ⇔ 0.50
3 ⇔ \text{Area} = 3 ⇔ 3 = 3
2x+3 ⇔ 3+2x
4.5e33 ⇔ 4.5 \times 10^{33}
7 ⇔ 7 \text{ students}
9.8 ⇔ 9.8\ \mathrm{m/s^2}
10 \text{ m/s}^2 ⇔ 10~\mathrm{m}/\mathrm{s}^2
i ⇔ i
2i ⇔ 2\,i
(1+i)^2 ⇔ 2i
-0.5 ⇔ -\frac12
2^{100} ⇔ 1267650600228229401496703205376
0.333333 ⇔ \frac13
x=2, y=3 ⇔ (2,3)
-2,1 ⇔ x=1, x=-2
\text{yes} ⇔ yes
p \ge 3 ⇔ [3,\infty)
1,000,000 ⇔ 1000000
1\,000\,000 ⇔ 1000000
\begin{pmatrix}2&-1\\0&3\end{pmatrix} ⇔ \begin{bmatrix} 2 & -1 \\ 0 & 3 \end{bmatrix}
\begin{pmatrix} \frac12 \\ 4 \end{pmatrix} ⇔ \begin{pmatrix} 0.5 \\  4 \end{pmatrix}
23456789 ⇔ 23,\! 456,\! 789
23456 ⇔ 23 456
23456.7 ⇔ 23 456.7 \text{ m}
\frac{\sqrt3}{2} ⇔ \sin 60^\circ
\sin x ⇔ \cos(90^{\circ}-x)
\ln 5 ⇔ ln(5)
3\sqrt{7} ⇔ 3sqrt(7) ⇔ 3\sqrt(7)
\sqrt[3]{5} ⇔ \sqrt[3]5
7.5 ⇔ x \approx 7.5 ⇔ v_0 \approx 7.5 \text{ m/s}
\sqrt{\frac{a}{b}} ⇔ \frac{\sqrt{a}}{\sqrt{b}}
\frac{1}{a}\left(1+\frac{r}{a}\right)^{-3/2} ⇔ \frac{\sqrt{a}}{(a+r)^{3/2}}
8 ⇔ 8\,\Omega ⇔ 8\ \text{k}\Omega
8\text{ μm} ⇔ 8\,\mu\text{m}
3e8 ⇔ 3 \times 10^8 m/s
""") + [("42", "4\u200b2")]

# Among them what math-verify alone calls correct
DIFFERENT = read_pairs(r"""
42 ⇔ 43 ⇔ -42 ⇔ 42x ⇔ 4242 ⇔ 4 2 ⇔ 4\,2 ⇔ 42! ⇔ 41,42 ⇔ 42 \text{ or } 43 ⇔ \text{not }42 ⇔ \ne 42 ⇔ forty-two ⇔ ?
42 ⇔ nan ⇔ \infty ⇔ \frac{42}{0} ⇔ \text{any number} ⇔ 42m
12 ⇔ 12.01 ⇔ 12 = 13 ⇔ 13 = 12 = 12
\frac{1}{3} ⇔ 0.33
0.33 ⇔ \frac13
11\sqrt2 ⇔ 15.5563 ⇔ 12\sqrt2
\frac{5}{7} ⇔ \frac{6}{7}
(-5, 7] ⇔ (-6, 7]
x^2+5x-7 ⇔ x^2+6x-7
2\frac12 ⇔ 1
\infty ⇔ -\infty
11011100_2 ⇔ 11011100_8
24_{10} ⇔ 24_{16}
\pm 3 ⇔ 3
x^2+2x+1 ⇔ (x+1)^3
2x+1 ⇔ 2y+1
p-q ⇔ q-p
1+2i ⇔ 1-2i
y=2x+1 ⇔ y=2x-1
\text{Evelyn} ⇔ \text{Briana}
\text{even} ⇔ \text{odd}
\begin{pmatrix}1\\2\end{pmatrix} ⇔ \begin{pmatrix}2\\1\end{pmatrix}
1,2 ⇔ 1 ⇔ 1,2,3
(1,2) ⇔ (2,1) ⇔ [1,2]
[1,2) ⇔ (1,2]
10^{100} ⇔ 10^{99}
2^{1000} ⇔ 2^{1001}
9^{9^{9^{9}}} ⇔ 9^{9^{9^{8}}}
\frac{100!}{2^{50}} ⇔ \frac{100!}{2^{50}}+1
\frac{100!+1}{50!} ⇔ \frac{100!}{50!}
2^{200} ⇔ 1606938044258990275541962092341162602522202993782792835301377
\binom{200}{100} ⇔ \binom{200}{100}-1
10^{60} ⇔ 10^{60}+0.5
\frac{2^{100}-1}{2^{100}} ⇔ 1
10^{60}\sqrt{2} ⇔ 10^{60}\sqrt{2}+1
x^{100} ⇔ x^{100}+1
0 ⇔ 0\text{ (wrong)} ⇔ 10^{-20}
2.88 \times 10^{-19} ⇔ -1 \times 10^{-25}
\frac{1}{2^{99}} ⇔ \frac{1}{2^{98}}
0.0000672 ⇔ 0.0000671
1 ⇔ 6-5\mathrm{i}
7 ⇔ 7\text{ (wrong)} ⇔ 7\text{ is not it} ⇔ 7 \text{ or maybe not}
5 ⇔ 5\mathrm{x} ⇔ 5t ⇔ 5!
204 ⇔ 205 = 204 ⇔ 204 \approx 205
24 ⇔ 24_{7}
N=n ⇔ N = n+1
5\text{ cm} ⇔ 5\text{ km}
x^2=-1 ⇔ x^2=-2
1e-5 ⇔ 1e-6
100 ⇔ 100.0000001
\{1,2\} ⇔ \{1,2.0000001\}
17.5\% ⇔ 0.175\%
3 ⇔ 3\text{ maybe}
10^{-19} ⇔ 0
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix} ⇔ \begin{pmatrix} 1 & 0 \\ 5 & 1 \end{pmatrix}
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ⇔ \begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}
23456 ⇔ 2 3456
1000 ⇔ 1 000 000
\frac{1}{2} ⇔ \sin 30
30 ⇔ \sin 30^\circ
7.5 ⇔ x \approx 7.6 ⇔ 7.6 \approx 7.5
|a| ⇔ a
a-b ⇔ \sqrt{(a-b)^2}
\lfloor a \rfloor ⇔ \lfloor a + 0.001 \rfloor
\sqrt{n+1} ⇔ \sqrt{n}+1
\sqrt{\frac{a}{b}} ⇔ \frac{\sqrt{b}}{\sqrt{a}}
x_1 - x_{12} ⇔ x_{12} - x_1
8\,\Omega ⇔ 8\ \text{k}\Omega
8\,\mu\text{m} ⇔ 8\text{ mm}
3 \times 10^8 m/s ⇔ 3 \times 10^8 \text{ km/s}
""")

# Deep nesting, 100 kB, binary rubbish
DIFFERENT += [
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
