//! What an answer costs.

use worker_protocol::gateway::Price;

use super::usage::Usage;

/// In US dollars. The longest prefix of the model's name counts; a model that none matches, or that
/// is not known, costs what the dearest would. Without prices nothing costs anything.
#[must_use]
pub fn cost(prices: &[Price], model: Option<&str>, usage: Usage) -> f64 {
    let matches = |price: &&Price| model.is_some_and(|model| model.starts_with(&price.model));
    match prices.iter().filter(matches).max_by_key(|price| price.model.len()) {
        Some(price) => at(price, usage),
        None => prices.iter().map(|price| at(price, usage)).fold(0.0, f64::max),
    }
}

fn at(price: &Price, usage: Usage) -> f64 {
    let parts = [
        (price.input, usage.input),
        (price.output, usage.output),
        (price.cache_read, usage.cache_read),
        (price.cache_write, usage.cache_write),
    ];
    parts.iter().map(|(dollars, tokens)| dollars * *tokens as f64 / 1e6).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(model: &str, each: f64) -> Price {
        let model = model.to_owned();
        Price { model, input: each, output: each * 5.0, cache_read: each / 10.0, cache_write: each }
    }

    fn million(model: Option<&str>) -> f64 {
        let prices = [price("a", 1.0), price("a-large", 10.0), price("a-large-old", 20.0)];
        cost(&prices, model, Usage { input: 1_000_000, ..Usage::default() })
    }

    #[test]
    fn the_longest_prefix_counts() {
        assert_eq!(million(Some("a-small")), 1.0);
        assert_eq!(million(Some("a-large-5")), 10.0);
        assert_eq!(million(Some("a-large-old-2")), 20.0);
    }

    #[test]
    fn what_is_not_known_costs_what_the_dearest_does() {
        assert_eq!(million(Some("b")), 20.0);
        assert_eq!(million(None), 20.0);
        assert_eq!(cost(&[], Some("a"), Usage { output: 5, ..Usage::default() }), 0.0);
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usage = Usage { input: 1000, output: 1000, cache_read: 1000, cache_write: 1000 };
        let dollars = cost(&[price("a", 1.0)], Some("a"), usage);
        assert!((dollars - 0.0071).abs() < 1e-9, "{dollars}");
    }
}
