from serving_fixtures import mixed, params, start
