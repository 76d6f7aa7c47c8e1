# The planets of the outer solar system, by a symplectic integrator.
BODIES = [
    # x, y, z, vx, vy, vz, mass
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 39.47841760435743],
    [4.84143144246472, -1.16032004402742, -0.10362204447112,
     0.60632639299583, 2.81198684491626, -0.02521836165988, 0.03769367487038949],
    [8.34336671824457, 4.12479856412430, -0.40352341711432,
     -1.01077434617879, 1.82566237123041, 0.00841576137658, 0.011286326131968767],
    [12.89436956213913, -15.11115140169863, -0.22330757889265,
     1.08279100644153, 0.86871301816960, -0.01083263740136, 0.0017237240570597112],
    [15.37969711485091, -25.91931460998796, 0.17925877295037,
     0.97909073224389, 0.59469899864767, -0.03475595555078, 0.0020336868699246304],
]


def advance(dt, steps):
    pairs = [(a, b) for i, a in enumerate(BODIES) for b in BODIES[i + 1:]]
    for _ in range(steps):
        for a, b in pairs:
            dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
            square = dx * dx + dy * dy + dz * dz
            pull = dt / (square * square ** 0.5)
            a[3] -= dx * b[6] * pull
            a[4] -= dy * b[6] * pull
            a[5] -= dz * b[6] * pull
            b[3] += dx * a[6] * pull
            b[4] += dy * a[6] * pull
            b[5] += dz * a[6] * pull
        for body in BODIES:
            body[0] += dt * body[3]
            body[1] += dt * body[4]
            body[2] += dt * body[5]


advance(0.01, 20_000)
for body in BODIES:
    print(*(coordinate.hex() for coordinate in body[:3]))
